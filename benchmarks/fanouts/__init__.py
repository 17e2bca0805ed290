"""What a delivery and an idle session cost, of chatsync beside others."""
