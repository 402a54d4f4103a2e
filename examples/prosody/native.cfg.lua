-- A server that lives in Tor: its own name is the onion name that `allium init` printed,
-- and its users write bob@<56 letters>.onion. Put your onion name in the place of
-- onion-name.onion, and your own secret; copy this to /etc/prosody/conf.d/native.cfg.lua
-- and mod_allium.lua to /usr/local/lib/prosody/modules; restart Prosody.

VirtualHost "onion-name.onion"
    -- Nothing here goes to the open network: no server but onion services is reached.
    modules_disabled = { "s2s" }

-- Its rooms. They must be among host.domains in allium.toml.
Component "rooms.onion-name.onion" "muc"
    modules_disabled = { "s2s" }

-- Allium attaches here, and gets what is for onion services.
Component "onion.onion-name.onion"
    component_secret = "change-me"
    component_conflict_resolve = "kick_old"
    -- It speaks for people at all onion services.
    validate_from_addresses = false
    modules_enabled = { "allium" }
