#!/bin/sh
# After installation: make the user. The service is neither enabled nor started.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers chronik.conf
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
