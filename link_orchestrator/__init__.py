"""Existing accounts in, matched with their Entra identities, reviewed, approved, linked.

functions.py holds the Azure functions; requests/runs.py, requests/reviews.py, requests/approval.py, requests/report.py,
afterwards.py, requests/groups.py and requests/mapping.py what they answer over HTTP. orchestrator.py is the order of
the passes, activities.py runs one over a slice: passes/import_accounts.py, passes/plan.py, passes/apply.py,
passes/undo.py, passes/verify.py, and those of groups. Before them passes/read.py brings a run's identities from a
source, as sources.py says what one is; graph.py is Microsoft Graph. files/accounts.py, files/groups.py,
files/entra_groups.py and files/identities.py read the files people bring; which identity is which account says
shared/directory/matching/accounts.py.
"""
