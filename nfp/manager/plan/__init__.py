"""The planner: pure functions from what is wanted and what is to the next thing to do.

One table for services (:mod:`~nfp.manager.plan.service`), one for devices
(:mod:`~nfp.manager.plan.device`); each row is one function there, first match wins.
"""
