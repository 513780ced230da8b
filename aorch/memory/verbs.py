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
    watch whoami
"""

CHANGING = frozenset(_CHANGING.split())
READING = frozenset(_READING.split())
