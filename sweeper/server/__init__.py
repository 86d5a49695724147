"""`sweeper serve`: the verbs of the command line over HTTP, for those who don't sit on the cluster; and its client.

`app` is the HTTP face of `sweeper.verbs`; `starts` starts coordinators in processes of their own, `recovery` those
that are gone; `client` talks to it. Trains nothing itself, and writes no trial: whoever holds the lease does.
"""
