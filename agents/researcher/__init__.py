"""The researcher: buys bare metadata of settled cases."""
