"""Image files that declare things: of every kind, signed by a certificate of these tests."""

import datetime
import functools
import io

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from PIL import Image, PngImagePlugin

from tests.pictures import encode, noise

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PICTURE = noise(24, 32)
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
EXT = 'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'


def xmp(inside="", attributes=""):
    """A packet with properties as elements, and as attributes."""
    names = f'{RDF} {EXT} xmlns:x="http://ns.adobe.com/xap/1.0/"'
    names += ' xmlns:t="http://purl.org/dc/terms/"'
    body = f'<rdf:Description rdf:about="" {attributes}>{inside}</rdf:Description>'
    begin, end = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'
    return f"{begin}<rdf:RDF {names}>{body}</rdf:RDF>{end}".encode()


def exif(comment=b"", **texts):
    """EXIF with texts by the names of their entries, and a user's comment."""
    tags = {"ImageDescription": 0x010E, "Make": 0x010F, "Model": 0x0110, "Software": 0x0131}
    made = Image.Exif()
    for name, text in texts.items():
        made[tags[name]] = text
    if comment:
        made.get_ifd(0x8769)[0x9286] = comment
    return made


def png(**texts):
    """A PNG with texts: compressed if they are bytes, international if they are not Latin-1."""
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text, zip=isinstance(text, bytes))
    return encode(PICTURE, "PNG", pnginfo=info)


@functools.cache
def certificates(ocsp=""):
    """The chain of a signer, PEM, and its key; with an address that would know of revocation."""
    root, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    own = _certificate("signer", signer, root, is_root=False, ocsp=ocsp)
    key = signer.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return own + _certificate("root", root, root, is_root=True), key


def _certificate(name, key, root, *, is_root, ocsp=""):
    now = datetime.datetime.now(datetime.UTC)
    others = "content_commitment key_encipherment data_encipherment key_agreement crl_sign"
    usage = dict.fromkeys(f"{others} encipher_only decipher_only".split(), False)
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
    )
    if not is_root:
        made = made.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    if ocsp:
        access = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp)
        )
        made = made.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return made.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(common):
    names = {NameOID.ORGANIZATION_NAME: "tests of dfk", NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(*pair) for pair in names.items()])


def signed(data, kind="PNG", *, elsewhere="", embedded=True, ocsp="", generator="Paint Box"):
    """The file with a C2PA manifest of a generator, embedded or at an address."""
    import c2pa

    chain, key = certificates(ocsp)
    action = {
        "action": "c2pa.created",
        "digitalSourceType": GENERATED,
        "softwareAgent": {"name": "Brush", "version": "3"},
    }
    builder = c2pa.Builder(
        {
            "claim_generator_info": [{"name": generator, "version": "1.2"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
    )
    if elsewhere:
        builder.set_remote_url(elsewhere)
    if not embedded:
        builder.set_no_embed()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, key, None))
    target = io.BytesIO()
    builder.sign(signer, f"image/{kind.lower()}", io.BytesIO(data), target)
    return target.getvalue()
