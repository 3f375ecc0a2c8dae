"""oslo.messaging's wire protocol on txAMQP."""
