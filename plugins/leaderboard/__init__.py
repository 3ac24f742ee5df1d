"""`leaderboard`: one-shot methods side by side, with the published figures beside ours."""
