package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// readSecrets finds the secret of each component: its own, or the host's.
func (c *config) readSecrets(at atKey) error {
	type section struct {
		name string
		*secretConfig
	}
	secrets := []section{{"host", &c.Host.secretConfig}}
	if c.Federation != nil {
		secrets = append(secrets, section{"federation", &c.Federation.secretConfig})
	}
	if c.Muc != nil {
		secrets = append(secrets, section{"muc", &c.Muc.secretConfig})
	}
	for i := range c.Alias {
		secrets = append(secrets, section{fmt.Sprintf("alias[%d]", i+1), &c.Alias[i].secretConfig})
	}
	for _, s := range secrets {
		if s.Secret != "" {
			if err := private(c.file, "it has secrets in it"); err != nil {
				return err
			}
			continue
		}
		if s.SecretFile == "" {
			continue
		}
		key := s.name + ".secret_file"
		if err := private(s.SecretFile, "it is a secret"); errors.Is(err, os.ErrNotExist) {
			return at(key, "there is no %s: write the secret into it that the host's configuration has for Allium's domains, and let Allium's user alone read it (mode 600)", s.SecretFile)
		} else if err != nil {
			return at(key, "%v", err)
		}
		text, err := os.ReadFile(s.SecretFile)
		if err != nil {
			return at(key, "%v", explainOwner(s.SecretFile, err))
		}
		s.Secret = strings.TrimSpace(string(text))
	}
	for _, s := range secrets[1:] {
		if s.Secret == "" {
			s.Secret = c.Host.Secret
		}
		if s.Secret == "" {
			return at("host.secret", "give the secret that the host's configuration has for Allium's domains, as host.secret or host.secret_file")
		}
	}
	return nil
}
