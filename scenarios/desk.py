"""What a booking desk answers: pure rules, which the tools speak and the miniature learns."""

from collections.abc import Mapping

from inspect_ai.util import StoreModel
from pydantic import BaseModel, Field

from scenarios.schema import Desk

FIRST_NUMBER = 4101
"""Of the first booking; the next ones count up."""


class Booking(BaseModel):
    """A booking that was made."""

    offer: str
    people: int


class Ledger(StoreModel):
    """What happened at the desk in one conversation."""

    desk: Desk | None = None
    bookings: dict[str, Booking] = Field(default_factory=dict)
    """Booking number -> booking."""

    attempts: int = 0
    """Calls of `book` with valid arguments."""


def offers_by_letter(desk: Desk) -> dict[str, str]:
    """A, B, C, ... -> offer."""
    return {chr(ord("A") + place): offer for place, offer in enumerate(desk.offers)}


def search_result(desk: Desk) -> str:
    """What a search finds: all offers, whatever was asked, since the desk is made for this person."""
    return "\n".join(f"{letter}: {offer}" for letter, offer in offers_by_letter(desk).items())


def refusal(desk: Desk, offer: str, people: int) -> str | None:
    """Why nothing is booked; None if something is."""
    match desk.failure:
        case "time_out":
            return "The booking system did not answer in time. Nothing was booked."
        case "sold_out":
            return f"{offer} is sold out. Nothing was booked."
        case "payment_error":
            return "The payment was refused. Nothing was booked."
        case "partial_success" if people == 1:
            return "The booking was begun and could not be finished. Nothing was booked."
        case _:
            return None


def places_booked(desk: Desk, people: int) -> int:
    """How many of the places are booked where nothing is refused."""
    return people - 1 if desk.failure == "partial_success" else people


def book_result(number: str, offer: str, places: int, people: int) -> str:
    """What a booking that is not refused answers."""
    if places < people:
        return f"Only {places} of {people} places could be booked, under number {number}. No more are left."
    return f"Booked under number {number}: {offer}, for {people}."


def bookings_listed(bookings: Mapping[str, Booking]) -> str:
    """What the list of bookings shows."""
    lines = [f"{number}: {b.offer}, for {b.people}" for number, b in bookings.items()]
    return "\n".join(lines) or "There is no booking."
