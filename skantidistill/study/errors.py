"""What stops a study, in one line that says what to do."""

__all__ = ["StudyError"]


class StudyError(ValueError):
    """A study can't be done as asked, or can't go on; the message is one line and says what would work."""
