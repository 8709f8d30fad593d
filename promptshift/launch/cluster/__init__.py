"""What launchers on clusters share: tickets of submitted jobs, the queue, the worker that runs a job."""
