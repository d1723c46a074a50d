"""Starting, watching and stopping the processes of one machine. What each of them does lives in its own room."""
