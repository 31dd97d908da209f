"""Existing accounts in, matched with their Entra identities, reviewed, approved, linked, and taken back if need be.

The states of a run (State in shared/directory/work/jobs.py; `phase` over HTTP):

                        a plan is there       a person, or itself, approves  every row is settled
            started ───────────────────► planned ──────────────► approved ──────────────────────► done
               │                            │
               │ nothing changed since      │ nobody approved it in time
               │ the runs before            ▼
               └───────────► done        expired

    started, planned, approved ── a person cancels ──► cancelled
    started, planned, approved ── it cannot go on ───► failed
                       planned ── a scheduled run takes its place ──► cancelled

Until it is approved, a run changes no account and no group. What is linked when it is cancelled or fails stays linked,
and can be undone. Imports, undos and verifications go from started to done, cancelled or failed.

Where to look: kinds.py is the table of all kinds of job, lifecycle.py how a job begins and ends, approving.py when a
run approves itself, orchestrator.py the order of its passes, activities.py how one of them runs over a slice. requests/
answers over HTTP, passes/ does the work, files/ reads what people bring, graph/ reads Microsoft Graph as a source that
source.py describes, prediction/ foretells the first provisioning cycle. run.py says what a run's job holds, staged.py
what is staged for it under which name. Which account is whose is decided in shared/directory/matching/accounts.py.
README.md here is the reference.
"""
