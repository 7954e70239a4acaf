"""What a support bundle holds, part by part: facts by an allow-list, never data, keys or the environment."""
