CREATE TABLE `resource_locks` (
	`device_id` text PRIMARY KEY NOT NULL,
	`sequence` integer NOT NULL,
	`phase` text NOT NULL,
	`memory_bytes` integer NOT NULL,
	`cooldown_ms` integer NOT NULL,
	`statement` text NOT NULL,
	`recorded_at` integer NOT NULL,
	FOREIGN KEY (`device_id`) REFERENCES `devices`(`device_id`) ON UPDATE no action ON DELETE no action
);
