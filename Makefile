# make demo   see it work, on this machine
# make test   run all tests
# make bench  measure, beside what came before; BENCH=Outages chooses
# make torture MINUTES=10 SEED=42 HOSTS=prosody,ejabberd
#             let people talk while something goes wrong all the time
# Needs Go 1.26, and Debian 12 or newer (or the packages below, by other means).

GO ?= go
# The Debian packages that the demo, and that the tests and benchmarks need.
DEMO_PACKAGES = tor prosody
TEST_PACKAGES = $(DEMO_PACKAGES) prosody-modules lua-unbound ejabberd strace faketime \
	python3-omemo python3-oldmemo python3-twomemo python3-xmlschema \
	profanity tmux python3-aioxmpp python3-slixmpp

.PHONY: build demo test check bench torture fuzz clean demo-packages test-packages

build:
	$(GO) build -o allium ./cmd/allium

demo: demo-packages build
	./allium demo $(DEMO_FLAGS)

# Tests of whole servers wait more than they compute: those with real clients, the longest,
# run beside all others, in a network namespace and with a Tor network of their own, and
# without -race, which makes all that they do several times as long. So do the demo, and the
# tests of native hosts and of leaks, so that both parts take about as long.
LONG = ^Test(Clients|Keys|Demo|Native|Leaks)
test: test-packages check
	@echo "$(GO) test ./..., in two parts"; \
	$(GO) test -timeout 30m -run '$(LONG)|^TestZ' ./cmd/allium & long=$$!; \
	$(GO) test -race -timeout 30m -p 3 -skip '$(LONG)' ./...; rest=$$?; \
	wait $$long && exit $$rest

check:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) vet ./...

BENCH ?= .
bench: test-packages
	$(GO) test -run '^$$' -bench "$(BENCH)" -benchmem -timeout 40m ./component ./omemo ./onionroute ./cmd/allium

# SEED 0 is another one each time; it is printed. HOSTS are the two servers.
MINUTES ?= 10
SEED ?= 0
HOSTS ?= prosody,prosody
torture: test-packages
	$(GO) test -count=1 -v -timeout 0 -run '^TestTorture$$' ./cmd/allium -minutes $(MINUTES) -seed $(SEED) -hosts $(HOSTS)

# Each fuzz target for a while: make fuzz FUZZTIME=10m
# (-fuzzminimizetime: certificates and keys cannot be made shorter, and trying takes all
# the time.)
FUZZTIME ?= 30s
fuzz:
	$(GO) test -run '^$$' -fuzz FuzzElement -fuzztime $(FUZZTIME) ./component
	$(GO) test -run '^$$' -fuzz FuzzDecode -fuzztime $(FUZZTIME) ./component
	$(GO) test -run '^$$' -fuzz FuzzAddress -fuzztime $(FUZZTIME) ./component
	$(GO) test -run '^$$' -fuzz FuzzAddressMap -fuzztime $(FUZZTIME) ./onionroute
	$(GO) test -run '^$$' -fuzz FuzzChain -fuzzminimizetime 100x -fuzztime $(FUZZTIME) ./onionroute
	$(GO) test -run '^$$' -fuzz FuzzGuard -fuzztime $(FUZZTIME) ./onionroute
	$(GO) test -run '^$$' -fuzz FuzzGuess -fuzztime $(FUZZTIME) ./onionroute
	$(GO) test -run '^$$' -fuzz FuzzBundle -fuzzminimizetime 100x -fuzztime $(FUZZTIME) ./omemo
	$(GO) test -run '^$$' -fuzz FuzzMessage -fuzzminimizetime 100x -fuzztime $(FUZZTIME) ./omemo
	$(GO) test -run '^$$' -fuzz FuzzDevices -fuzztime $(FUZZTIME) ./omemo
	$(GO) test -run '^$$' -fuzz FuzzRoom -fuzzminimizetime 10x -fuzztime $(FUZZTIME) ./muc
	$(GO) test -run '^$$' -fuzz FuzzDirectory -fuzztime $(FUZZTIME) ./omemo
	$(GO) test -run '^$$' -fuzz FuzzStream -fuzztime $(FUZZTIME) ./onionroute
	$(GO) test -run '^$$' -fuzz FuzzAnswers -fuzzminimizetime 10x -fuzztime $(FUZZTIME) ./onionroute

clean:
	rm -f allium

demo-packages:
	@$(call install,$(DEMO_PACKAGES))

test-packages:
	@$(call install,$(TEST_PACKAGES))

# Installs what is missing. The services of the packages are not started: the demo and
# the tests start their own, on other ports.
define install
missing=; for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q ' installed$$' || missing="$$missing $$p"; done; \
[ -z "$$missing" ] && exit 0; echo "installing$$missing"; \
sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
$$sudo sh -ec 'policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then printf "#!/bin/sh\nexit 101\n" >$$policy; chmod 755 $$policy; trap "rm -f $$policy" EXIT; fi; \
	export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -qq install -y --no-install-recommends '"$$missing"' >/dev/null'
endef
