"""Reports as pages of HTML, to read on a screen and to print. They hold no script and load nothing.

A page is made of what the API shows and nothing else, so a test needs no server to look at one. run.py and undo.py are
the pages, warned.py says what to look at first, files.py what was read, policy.py a policy in sentences, words.py what
each count is called, and parts.py draws.
"""
