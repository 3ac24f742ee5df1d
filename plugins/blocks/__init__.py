"""Building blocks shared by methods, here for third parties too: noise schedules, EMA, grey mapping."""
