"""Existing accounts in, matched with their Entra identities, reviewed, approved, linked.

functions.py holds the Azure functions, service.py and afterwards.py what they answer over HTTP. orchestrator.py is the
order of the passes, activities.py runs one over a slice: importing.py, planning.py, applying.py, undoing.py,
undoing_groups.py and verifying.py. accounts_file.py and from_file.py read the files people bring; which identity is
which account says shared/directory/matching.py.
"""
