-- +goose Up
SELECT outbox.make_topic('users');
