-- What Prosody needs for Allium: copy to /etc/prosody/conf.d/allium.cfg.lua,
-- put in your own domain and secret, and restart Prosody (a reload is not enough).

-- The gateway. Allium attaches with this secret (host.secret in allium.toml).
Component "onion.example.org"
    component_secret = "change-me"
    -- When Allium reconnects before Prosody has noticed that the old connection
    -- is dead, the new one wins.
    component_conflict_resolve = "kick_old"
    -- When a user writes to an onion service without the gateway, Prosody would look the
    -- name up in DNS: that tells the name server about it. mod_allium.lua stops it; copy
    -- it to /usr/local/lib/prosody/modules.
    modules_enabled = { "allium" }

-- Rooms, if allium.toml has a section [muc].
Component "rooms.example.org"
    component_secret = "change-me"
    component_conflict_resolve = "kick_old"
