# pgisle: `make demo` shows the main job, `make test` runs everything that CI runs.
CARGO ?= cargo

.PHONY: demo test components

components:
	@scripts/components.sh test

demo:
	@scripts/components.sh demo
	@$(CARGO) build --quiet -p pgisle-cli
	@scripts/demo.sh

test: components
	@$(CARGO) xtask ci
