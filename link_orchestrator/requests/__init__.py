"""The administrator's requests about jobs: a module for each thing that is asked for, and the API's document."""
