"""What is said instead of an answer, in English, German, French and Spanish.

A sentence of this kind rests on nothing: it speaks of the speaker, or of what the passages lack, not of the subject.
"""

import re
from typing import Final

from tidemill_inference.generation.citations.lexicon import plain

_MAX_CHARACTERS = 400
"""An answer that says this much does not decline."""
_EN_SOURCES = r"(?:passages?|documents?|documentation|context|text|sources?|materials?|excerpts?|information|knowledge)"
_DE_SOURCES = r"(?:passagen?|abschnitten?|dokumenten?|kontext|texten?|quellen?|unterlagen|auszügen?|informationen)"
_FR_SOURCES = r"(?:passages?|documents?|documentation|contexte|textes?|sources?|extraits?|informations?)"
_ES_SOURCES = r"(?:pasajes?|documentos?|documentación|contexto|textos?|fuentes?|fragmentos?|información)"
_EN_GIVES = "(?:know|answer|say|tell|find|determine|help|confirm|have|provide|give|assist)"
_EN_HOLDS = "(?:say|mention|contain|provide|specify|include|answer|state|give|tell|address|cover|indicate|have)"
_DE_GIVES = "(?:beantworten|sagen|finden|helfen|bestimmen|beurteilen|geben)"
_DE_FACTS = "(?:information|informationen|angaben?|antwort|ahnung|hinweise?)"
_DE_HELD = "(?:erwähnt|angegeben|genannt|gefunden|entnehmen|hervor)"
_PATTERNS: Final = (
    rf"(?:i|we) (?:do not|don't|cannot|can't|could not|couldn't|did not|didn't)(?: \w+)? {_EN_GIVES}",
    r"(?:i am|i'm|we are|we're|i was|we were) (?:not sure|unable|not able|not certain|not aware)",
    r"(?:i|we) have no (?:idea|information|answer|data|knowledge)",
    rf"{_EN_SOURCES} (?:\w+ )?(?:(?:do|does|did)(?: not|n't)|don't|doesn't|didn't) (?:\w+ )?{_EN_HOLDS}",
    rf"{_EN_SOURCES} (?:\w+ )?(?:says?|mentions?|contains?|gives?) nothing",
    r"(?:cannot|can't|could not|couldn't) be (?:found|determined|answered|derived|inferred)",
    r"(?:unclear|unknown|not clear) (?:from|in|based)",
    rf"not (?:\w+ )?\w+ (?:in|by|from) (?:\w+ ){{0,3}}{_EN_SOURCES}",
    r"(?:is|are|was|were) not (?:mentioned|specified|stated)",
    r"(?:there is|there's|contains?|found|find|have|has|gives?) no (?:mention|information|answer|relevant|details?)",
    r"(?:no idea|keine ahnung|aucune idée|ni idea)",
    r"(?:not enough|insufficient) (?:information|context|data)",
    r"(?:weiß|weiss) (?:ich|wir)(?: \w+){0,2} nicht",
    r"(?:das|es) (?:weiß|weiss) (?:ich|man) nicht",
    r"(?:ich weiß|ich weiss|wir wissen)(?: \w+){0,2} nicht",
    rf"(?:ich|wir) k(?:ann|önnen|onnten?)(?: \w+){{0,6}} (?:nicht|keine?)(?: \w+){{0,3}} {_DE_GIVES}",
    rf"(?:kann ich|können wir)(?: \w+){{0,4}} (?:nicht|keine?)(?: \w+){{0,2}} {_DE_GIVES}",
    rf"(?:habe ich|ich habe|haben wir|wir haben)(?: \w+){{0,2}} keine? {_DE_FACTS}",
    rf"{_DE_SOURCES}(?: \w+){{0,3}} (?:nicht|keine?)\b",
    rf"(?:nicht|keine {_DE_FACTS})(?: \w+){{0,3}} {_DE_HELD}",
    rf"(?:es gibt|gibt es|liegen|liegt) (?:\w+ ){{0,3}}keine? {_DE_FACTS}",
    r"je (?:ne |n')(?:le |la |l'|les |vous )?(?:sais|peux|trouve|dispose|connais|suis|ai|saurais)",
    r"nous (?:ne |n')(?:le |la |vous )?(?:savons|pouvons|trouvons|disposons|avons)",
    rf"{_FR_SOURCES}(?: \w+){{0,3}} (?:ne |n')(?:\w+ ){{1,3}}?(?:pas|rien|aucune?)",
    r"(?:n'est|ne sont|n'a|n'ont) pas (?:été )?(?:mentionn|précis|indiqu|fourni)\w*",
    r"(?:aucune|pas d'|n'y a pas d') ?(?:information|mention|réponse|indication)s?",
    r"no (?:lo |la |los |le )?(?:sé|sabemos|puedo|podemos|encuentro|encontramos|dispongo|tengo|tenemos|conozco)",
    r"no (?:se )?(?:menciona|especifica|indica|precisa)n?",
    r"no (?:está|están|ha sido|fue) (?:mencionad|especificad|indicad)\w*",
    rf"{_ES_SOURCES}(?: \w+){{0,3}} no (?:\w+ )?(?:contiene|proporciona|dice|responde|incluye|da|aporta)n?",
    r"no (?:hay|existe|existen) (?:\w+ )?(?:información|mención|respuesta|datos|indicación)",
)
_DECLINES = re.compile(rf"\b(?:{'|'.join(_PATTERNS)})")


def declines(sentence: str) -> bool:
    """Return whether a sentence says that there is no answer."""
    return len(sentence) <= _MAX_CHARACTERS and _DECLINES.search(plain(sentence)) is not None
