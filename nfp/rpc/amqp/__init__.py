"""txAMQP 0.8.2, corrected, behind a narrow interface of our own.

Nothing outside this package imports txamqp; the rest of :mod:`nfp.rpc` sees
:mod:`~nfp.rpc.amqp.interfaces` only.
"""
