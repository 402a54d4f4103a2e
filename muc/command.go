package muc

import (
	"context"

	"github.com/allium-xmpp/allium/component"
)

func (r *room) commandInfo(_ *session, s *component.Stanza) error  { return errNotFound }
func (r *room) commandItems(_ *session, s *component.Stanza) error { return errNotFound }
func (r *room) sendMessageOfTheDay(ses *session)                   {}

func (sv *Service) commandItems(_ context.Context, s *component.Stanza) ([]*component.Element, error) {
	return nil, errNotFound
}
