"""Do expected and actual agree?"""
