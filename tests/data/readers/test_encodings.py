"""Encodings are told by what looks like text, and none is named for noise."""

# ruff: noqa: RUF001 - letters that look like Latin ones are meant

import random

import pytest

from lft_ray.data.readers.encodings import high_lines, likely_encodings

TEXTS = {
    "cp1252": [
        "Der Kunde ärgert sich über die Größe, möchte zurück",
        "Le café était fermé à Noël, où êtes-vous ? Ça va",
        "El niño pidió más información mañana; ¿cuándo llegó?",
        "Não consigo acessar a configuração, obrigação às três",
        "Blåbærgrød på søndag, også til små børn",
        "It’s “fine” – he said… €20",
    ],
    "cp1250": [
        "Zażółć gęślą jaźń, proszę się nie bać",
        "Příliš žluťoučký kůň úpěl ďábelské ódy",
        "Árvíztűrő tükörfúrógép",
    ],
    "cp1254": ["Şikayetim için çağrı açtım, görüşmek üzere ığdır"],
    "cp1251": ["Добрый день, не могу войти в личный кабинет", "Доброго дня, не можу увійти до кабінету"],
    "koi8_r": ["Добрый день, не могу войти в личный кабинет, помогите пожалуйста"],
    "cp1253": ["Καλημέρα, δεν μπορώ να συνδεθώ στον λογαριασμό μου"],
    "cp1255": ["שלום, אני לא מצליח להתחבר לחשבון שלי"],
    "cp1256": ["مرحبا، لا أستطيع الدخول إلى حسابي"],
    "cp874": ["สวัสดีครับ ผมเข้าสู่ระบบบัญชีของผมไม่ได้"],
    "shift_jis": ["こんにちは、アカウントにログインできません。助けてください"],
    "euc_jp": ["こんにちは、アカウントにログインできません。助けてください"],
    "euc_kr": ["안녕하세요, 계정에 로그인할 수 없습니다. 도와주세요"],
    "gb18030": ["您好,我无法登录我的账户,请帮助我解决这个问题。", "股市今日上涨，专家认为经济将会继续增长"],
    "big5": ["您好,我無法登入我的帳戶,請幫助我解決這個問題。"],
}


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts])
def test_the_likeliest_encoding_reads_the_text(encoding, text):
    [first, *_] = likely_encodings(text.encode(encoding))
    assert text.encode(encoding).decode(first) == text


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_text(seed):
    noise = bytes(random.Random(seed).choices(range(32, 256), k=2000))
    assert likely_encodings(noise) == []


def test_lines_of_ascii_are_left_out():
    assert high_lines([b"plain\n", "gr\xfcn\n".encode("cp1252")]) == b"gr\xfcn\n"
