// The API server's own reading of an AuthenticationConfiguration, and of tokens under it, without a cluster.
//
// Usage: apiserver-config CONFIG [JWKS] < TOKENS
//
// CONFIG is read as kube-apiserver reads --authentication-config: strictly, defaulted, validated, its CEL compiled.
// With JWKS, each line of standard input is a token that the configuration's first authenticator judges with those keys.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/coreos/go-oidc"
	"gopkg.in/go-jose/go-jose.v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	tokenoidc "k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

type judged struct {
	Authenticated bool                `json:"authenticated"`
	Error         string              `json:"error,omitempty"`
	Name          string              `json:"name,omitempty"`
	UID           string              `json:"uid,omitempty"`
	Groups        []string            `json:"groups,omitempty"`
	Extra         map[string][]string `json:"extra,omitempty"`
}

type answer struct {
	Errors []string `json:"errors"`
	Tokens []judged `json:"tokens"`
}

// keys verifies a signature with a fixed set, where the API server would fetch the issuer's.
type keys struct{ set jose.JSONWebKeySet }

func (k keys) VerifySignature(_ context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSigned(token)
	if err != nil {
		return nil, err
	}
	for _, key := range k.set.Key(signed.Signatures[0].Header.KeyID) {
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, fmt.Errorf("no key of the set verifies the signature")
}

func main() {
	found, err := run()
	if err != nil {
		found = answer{Errors: []string{err.Error()}}
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}

func run() (answer, error) {
	found := answer{Errors: []string{}, Tokens: []judged{}}
	config, err := read(os.Args[1])
	if err != nil {
		return found, err
	}
	compiler := authenticationcel.NewDefaultCompiler()
	for _, flaw := range validation.ValidateAuthenticationConfiguration(compiler, config, nil) {
		found.Errors = append(found.Errors, flaw.Error())
	}
	if len(found.Errors) > 0 || len(os.Args) < 3 {
		return found, nil
	}
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		return found, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		return found, err
	}
	found.Tokens, err = judge(config.JWT[0], keys{set})
	return found, err
}

func read(path string) (*apiserver.AuthenticationConfiguration, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(apiserver.AddToScheme(scheme))
	install.Install(scheme)
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
	config := &apiserver.AuthenticationConfiguration{}
	return config, runtime.DecodeInto(decoder, text, config)
}

func judge(jwt apiserver.JWTAuthenticator, set oidc.KeySet) ([]judged, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// The algorithms that kube-apiserver allows with a configuration file.
	algorithms := []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
	authenticator, err := tokenoidc.New(ctx, tokenoidc.Options{
		JWTAuthenticator: jwt, KeySet: set, SupportedSigningAlgs: algorithms,
	})
	if err != nil {
		return nil, err
	}
	all := []judged{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		response, ok, err := authenticator.AuthenticateToken(ctx, lines.Text())
		one := judged{Authenticated: ok}
		if err != nil {
			one.Error = err.Error()
		}
		if ok {
			user := response.User
			one.Name, one.UID, one.Groups, one.Extra = user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra()
		}
		all = append(all, one)
	}
	return all, lines.Err()
}
