"""How far can rounding carry a number?"""
