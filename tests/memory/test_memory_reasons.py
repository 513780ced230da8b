"""A block shows on what a refusal or an answer rests: the values of look-ups of which an agent speaks afterwards."""

import pytest
from local_blocks import block_of, faults, many_steps, shown
from memory_sessions import Session

TICKET = {
    "booking": "B-91",
    "fare": "basic_economy",
    "legs": [{"flight": f"HX-{n}", "date": "2026-06-01", "from": "MCO", "to": f"T{n}X"} for n in (1, 2, 3)],
    "created_at": "2026-05-02T10:00:00",
    "price": 118,
    "insurance": "no",
}


def refused(refusal: str) -> Session:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please cancel the bookings of our team."})
    many_steps(s, 60)
    s.calls("bot", "desk", "get_booking", {"booking": "B-91"}, TICKET)
    s.calls("bot", "desk", "get_booking", {"booking": "B-92"}, {**TICKET, "booking": "B-92", "fare": "business"})
    s.calls("bot", "clock", "get_time", {"zone": "UTC"}, {"time": "2026-05-28T10:00:00"})
    s.says("ann", "bot", "Cancel B-91 and B-92, please.", refusal)
    return s


def test_the_line_of_look_ups_has_the_values_on_which_a_refusal_rests() -> None:
    s = refused("B-91 is a basic economy ticket without insurance, so it cannot be cancelled.")
    text = shown(s, 300)
    line = next(line for line in text.splitlines() if "get_booking" in line)
    assert "get_booking (desk) ×2 B-91, B-92 → B-91: fare basic_economy, insurance no" in line
    assert "price" not in line
    assert not list(faults(block_of(s.contracts), s.contracts))


def test_values_of_look_ups_of_which_nobody_speaks_are_not_shown_as_reasons() -> None:
    assert "insurance" not in shown(refused("I am unable to do this."), 300)


def test_the_refusal_is_whole_although_the_caller_agrees_to_what_is_proposed_with_it() -> None:
    why = "B-91 is a basic economy ticket that was bought more than 24 hours ago without insurance, so it cannot be cancelled."
    s = refused(f"{why} B-92 can be cancelled. Shall I go on with B-92?")
    s.says("ann", "bot", "Yes, please go on with B-92.", "B-92 is cancelled.")
    assert why in shown(s, 512)


def test_a_refusal_that_an_agent_first_thinks_and_then_says_is_shown_once() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please cancel the bookings of our team."})
    many_steps(s, 30)
    why = "The booking B-91 is a basic economy ticket without insurance, so it cannot be cancelled at any time."
    s.calls("bot", "thinker", "think", {"thought": why}, {"text": ""})
    s.says("ann", "bot", "Cancel B-91.", f"I am sorry. {why}")
    assert shown(s, 512).count("cannot be cancelled at any time") == 1


def test_all_values_of_a_look_up_are_shown_if_there_is_space() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please tell me the price of booking B-91, and whom it is for."})
    s.calls("bot", "desk", "get_booking", {"booking": "B-91"}, {**TICKET, "notes": "n" * 2000})
    s.asks("ann", "bot", "assist", {"text": "Are you still there?"})
    text = shown(s, 512)
    for value in ("fare basic_economy", "HX-1 2026-06-01", "price 118", "insurance no"):
        assert value in text


@pytest.mark.parametrize(
    "reason",
    [
        "Since you can pay up to 600 dollars, the upgrade of all seats exceeds your budget for this trip.",
        "Da der Preis 600 Euro übersteigt, bleibt es bei den bisherigen Plätzen in der zweiten Klasse.",
        "La mejora de todas las plazas supera los 600 euros que ustedes pueden pagar por este viaje.",
        "Le prix des nouvelles places dépasse les 600 euros que vous pouvez payer pour ce voyage.",
        "Цена новых мест превышает 600 евро, которые вы можете заплатить за эту поездку в мае.",
        "升级全部座位的价格超过了您可以支付的六百元预算,我们保留原来的座位。",
    ],
)
def test_the_reason_why_something_was_not_done_is_kept_in_every_language(reason: str) -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please look for better seats on our train to Paris."})
    s.says("ann", "bot", "Can all four seats be upgraded to the first class?", f"I have looked at the prices. {reason}")
    for n in range(14):
        s.says(
            "ann",
            "bot",
            f"What is the price of seat {n} on the way back?",
            f"Seat {n} of train TX-{n} costs {90 + n} euros.",
        )
    assert reason in shown(s, 400)


def test_a_look_up_that_found_nothing_says_so() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please find a flight from Boston to Orlando on May 22."})
    s.calls("bot", "desk", "search_direct", {"date": "2026-05-22", "to": "MCO"}, {"found": []})
    for day in (23, 24):
        s.calls(
            "bot", "desk", "search_train", {"date": f"2026-05-{day}"}, {"found": []} if day == 23 else {"train": "TX-9"}
        )
    many_steps(s, 60)
    s.says("ann", "bot", "Is there one?", "The train TX-9 is the only way to go there on that day.")
    text = shown(s, 512)
    assert "search_direct (desk) 2026-05-22 → empty" in text
    assert "search_train (desk) ×2 2026-05-23, 2026-05-24 → 2026-05-23: empty" in text
    assert not list(faults(block_of(s.contracts), s.contracts))


def test_what_a_person_names_by_a_figure_is_shown_with_its_id() -> None:
    s = Session()
    s.asks("ann", "bot", "assist", {"text": "Please change my booking B-91 to the first of June."})
    many_steps(s, 60)
    s.asks("ann", "bot", "assist", {"text": "Use the card that ends in 7334 for the difference, please."})
    cards = [{"last_four": f"{n}34", "id": f"credit_card_{n}90748"} for n in (81, 73, 55)]
    address = [f"{n} Willow Lane of a town by the sea" for n in range(9)]
    s.calls("bot", "desk", "get_profile", {"person": "ann_lee_41"}, {"addresses": address, "cards": cards})
    s.calls("bot", "clock", "get_time", {"zone": "UTC"}, {"time": "2026-05-28T10:00:00"})
    line = next(line for line in shown(s, 220).splitlines() if "get_profile" in line)
    assert "→ cards 7334 credit_card_7390748" in line


def test_words_of_a_person_with_an_ending_signal_are_not_open() -> None:
    s = Session()
    s.says(
        "ann", "bot", "Please cancel booking B-91 for me.", "It cannot be cancelled. Shall I transfer you to a human?"
    )
    many_steps(s, 40)
    s.asks(
        "ann", "bot", "assist", {"text": "No, I don't want to be transferred, there is nothing more to do. ###STOP###"}
    )
    block = block_of(s.contracts)
    assert not block.open_points
    text = shown(s, 512)
    assert "End: ann: «No, I don't want to be transferred, there is nothing more to do.»" in text
    assert "not answered" not in text


def test_what_an_agent_promises_comes_before_what_its_call_shows() -> None:
    s = Session()
    order = "ORD-51 of two lamps"
    reason = "you have found better ones in the shop around the corner"
    ask = s.asks("ann", "bot", "assist", {"text": f"Please cancel my order {order}, since I have found better ones."})
    s.calls("bot", "shop", "cancel_order", {"order": "ORD-51"}, {"state": "cancelled", "amount": -80})
    promise = "The money will be refunded to your card within 5 to 7 business days."
    done = (
        f"Your order {order} has been successfully cancelled as you wished, because you told us in time that {reason}."
    )
    s.answers(ask, {"text": f"{done} {promise}"})
    for n in range(12):
        ask = s.asks("ann", "bot", "assist", {"text": f"Is plan P-{n} of the shop better for me than the one before?"})
        s.calls("bot", "shop", "get_plan", {"plan": f"P-{n}"}, {"services": n, "price": n * 3})
        s.answers(ask, {"text": f"I have compared the plans. Plan P-{n} has {n} more services for {3 * n} euros."})
    assert promise in shown(s)


def test_the_text_that_an_act_returns_is_shown_once() -> None:
    s = Session()
    many_steps(s)
    ask = s.asks("ann", "bot", "assist", {"text": "My train was late. What can you offer?"})
    done = "Voucher V-3221322 was added to the account of ann with an amount of 50."
    s.calls("bot", "desk", "send_voucher", {"user": "ann", "amount": 50}, done)
    s.answers(ask, {"text": "I can offer a voucher, which is in your account now."})
    assert shown(s).count("V-3221322") == 1
