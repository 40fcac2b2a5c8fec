module github.com/memoryplugin/memoryplugin-go/examples

go 1.26.0

require (
	github.com/memoryplugin/memoryplugin-go v0.1.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.50.0 // indirect
)

replace github.com/memoryplugin/memoryplugin-go => ../
