"""`make plan`: a linking plan of somebody's own two files, on their own machine, of which only the results stay.

__main__.py reads the command line, given.py what was given, work.py has the app make the plan, results.py writes the
results, and shown.py prints them. door.py is the app in this process, asked through the same functions as over HTTP;
folders.py makes the folder that it works in, and removes it. No port of the app is open meanwhile, and no token is
needed.
"""
