"""Existing accounts in, matched with their Entra identities, reviewed, approved, linked.

functions.py holds the Azure functions, orchestrator.py the order of the passes, activities.py what each pass does to a
slice, matching.py which identity is which account, accounts_file.py and from_file.py the files people bring.
"""
