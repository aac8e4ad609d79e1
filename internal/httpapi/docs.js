// validatorUrl is null because Swagger UI would otherwise send the document's address to a validator on the internet.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
});
