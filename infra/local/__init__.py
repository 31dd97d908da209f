"""The same app on a laptop, without Azure.

serve.py runs the app (host.py) with its activities in processes of their own (workers.py, worker.py) and its
orchestrations in durable/. entra.py and graph.py are stand-ins for Microsoft's services, made of standins/. demo.py and
bench/ use all of it over HTTP; plan/ uses the app in its own process.
"""
