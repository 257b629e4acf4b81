"""The rules, without a store and a clock: given events, when a command, then events."""
