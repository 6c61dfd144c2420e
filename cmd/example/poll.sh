#!/bin/sh
# A poll from start to end with curl. RELAY is ws://…; GROUP and MEMBERS name a
# group and its members file; PERSON is an identity in that group, which
# AGORA_PASSPHRASE opens. curl cannot sign, so agora does that.
set -eu
AGORA=${AGORA:-bin/agora}
HTTP=http${RELAY#ws}

# the poll pins the group's present root, so that who joins later cannot vote
$AGORA poll create --print --relay "$RELAY" --group "$GROUP" --question 'Where shall we meet?' \
	--option park=Park --option pub=Pub > poll.json
curl -fsS --data @poll.json "$HTTP/v1/polls" > taken.json
POLL=$(sed 's/.*"id":"\([0-9a-f]*\)".*/\1/;q' taken.json)

curl -fsS "$HTTP/v1/polls/$POLL"                      # who may vote, and how many have
$AGORA poll vote "$POLL" --relay "$RELAY" --identity "$PERSON" --members "$MEMBERS" --choice park --delay 0s
curl -fsS "$HTTP/v1/polls/$POLL/tally"                # people and keys apart, and a signed certificate
curl -fsS --max-time 3 "$HTTP/v1/polls/$POLL/stream" || [ $? = 28 ] # server-sent events, for three seconds
curl -fsS -o ballots.jsonl "$HTTP/v1/polls/$POLL/ballots.jsonl"
$AGORA poll recount ballots.jsonl --members "$MEMBERS"  # needs no relay; prints the certificate's hash
