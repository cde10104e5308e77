"""Accounts: sources whose credential is a token that has to be got, kept and refreshed."""
