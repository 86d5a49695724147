"""`sweeper serve`: the verbs of the command line over HTTP, for users of other machines; and its client.

`routes` makes the route of each verb (`sweeper.verbs`), `app` puts them together; `starts` starts coordinators in
processes of their own, `recovery` resumes sweeps whose coordinator is lost; `client` talks to a service. The service
trains nothing itself and writes no trial: the holder of the lease does.
"""
