ALTER TABLE `join_requests` ADD `invite` text;--> statement-breakpoint
ALTER TABLE `join_requests` ADD `denied` text;