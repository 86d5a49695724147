"""Who runs a sweep: plan, launch, coordinator, Ray, the lease, and what is published at the end."""
