CREATE TABLE `control_plane_pins` (
	`pool_id` text PRIMARY KEY NOT NULL,
	`pin` text NOT NULL,
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
