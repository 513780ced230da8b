"""English verbs as they stand in the names of capabilities and commands: those that change the world, those that look."""

_CHANGING = """
    abort accept activate add amend append apply approve archive assign attach authorize backup ban block book build
    bump buy cancel change charge checkout chmod chown claim clean cleanup clear close commit configure confirm
    convert copy cp create deactivate decrement deduct delete deny deploy destroy disable drop edit email emit
    enable enqueue escalate exchange export fix flush forward grant import increment init insert install invite
    invoke issue kill launch link lock log mark merge migrate mkdir modify mount move mutate mv notify open order
    overwrite patch pause pay pin post promote provision publish purchase purge push put queue reassign rebook
    reboot record redeploy refund register reject release remove rename renew reopen replace reply request
    reschedule reserve reset resize resolve restart restore resume retire return revert revoke rm roll rollback
    rollout rotate save scale schedule seed sell send set ship sign start stop store submit subscribe suspend swap
    switch sync tag terminate toggle train transfer trigger truncate unassign unblock undo uninstall unlock unmount
    unset unsubscribe update upgrade upload upsert void withdraw write
"""
_READING = """
    analyse analyze answer ask assist browse calculate cat chat check classify compare complete compute count
    describe diff display echo embed estimate evaluate examine explain extract fetch filter find generate get grep
    head help inspect investigate lint list load look lookup ls measure monitor observe parse peek ping plan poll
    predict preview print profile query read reason recall respond retrieve review say scan score search select show
    solve sort speak stat status suggest summarise summarize tail talk think translate validate verify view wait
    watch whoami are can contains count do does exists has have is lint should sleep test tests uppercase was were
"""
_FACTS = """
    availability balance calendar contents description details docs documentation events exists fact facts forecast
    history info information metadata news price prices quote quotes rate rates statistics stats summary time
    version weather wiki wikipedia
"""

_THINGS = """
    archive backup ban block book build cancel change charge claim commit deploy drop email export fix forward
    exchange grant import insert invite invoice issue launch link lock log merge mount move open order patch pay pin
    post publish purchase queue record refund register release reply request reserve reset restore return ship
    sign start stop store submit switch sync tag train transfer upgrade
"""
_LOOKING = """
    awk cal cut date df dig du egrep env fgrep file history hostname id jq ldd less lsof man md5sum more netstat nl nm
    nslookup objdump od pgrep ping printenv ps pwd readelf select sha256sum stat strings tail top tree type uname uniq
    uptime w wc which who with xxd zcat zgrep explain describe desc pragma show values
"""
_SUBCOMMANDS = "blame describe diff images info inspect log logs ls-files ps show status version get"

METHODS = {
    **dict.fromkeys(("get", "head", "options"), False),
    **dict.fromkeys(("post", "put", "patch", "delete"), True),
}
"""Whether an HTTP method changes the world (RFC 9110, section 9.2.1)."""
SUBCOMMANDS = frozenset(_SUBCOMMANDS.split())
"""What git, docker, kubectl and their like do without changing anything."""
FACTS = frozenset(_FACTS.split())
"""What is looked up: `weather`, `exchange_rate`, `book_details`."""
FOREIGN_READING = (
    "查", "搜", "看", "读", "获取", "列出", "检查", "найти", "получить", "показать", "прочитать", "поиск", "список", "проверить",
)  # fmt: skip
"""How the names of capabilities that look begin in Chinese and Russian."""
CHANGING = frozenset(_CHANGING.split())
READING = frozenset(_READING.split())
THINGS = CHANGING & frozenset(_THINGS.split())
"""Those that name a thing as well, so that the last word of `order_status` says what is done."""
LOOKING = frozenset(_LOOKING.split())
"""Programs and statements that only look, as the first word of a command."""
