"""What the stand-ins for Entra and Microsoft Graph are made of."""
