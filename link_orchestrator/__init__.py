"""Existing accounts in, matched with their Entra identities, reviewed, approved, linked.

functions.py holds the Azure functions; service.py, reviewing.py, approving.py, reporting.py, afterwards.py,
group_requests.py and mapping_requests.py what they answer over HTTP. orchestrator.py is the order of the passes,
activities.py runs one over a slice: importing.py, planning.py, applying.py, undoing.py, verifying.py, and those of
groups. Before them reading.py brings a run's identities from a source, as sources.py says what one is; graph.py is
Microsoft Graph. accounts_file.py, groups_file.py, entra_groups.py and from_file.py read the files people bring; which
identity is which account says shared/directory/matching.py.
"""
