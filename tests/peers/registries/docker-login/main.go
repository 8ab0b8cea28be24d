// Which login Docker's own command line would show to a registry, by its own reading of its configuration.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/docker/cli/cli/config"
)

func main() {
	file, err := config.Load(config.Dir())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	found, err := file.GetAuthConfig(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]string{
		"Username": found.Username, "Password": found.Password, "ServerAddress": found.ServerAddress,
	})
}
