package httpapi

// SubscriptionName is which subscription an operation is on, the same in both APIs. Embed it in the operation's input.
type SubscriptionName struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9._:-]{0,99}$" doc:"Up to 100 lower-case letters, digits and . _ : -"`
}
