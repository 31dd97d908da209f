"""What the stand-ins for Entra (entra.py) and Microsoft Graph (graph.py) are made of."""
