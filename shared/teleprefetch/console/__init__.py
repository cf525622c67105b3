"""The operators' console: what is under way, what happened to a study, replays, rules, worth."""
