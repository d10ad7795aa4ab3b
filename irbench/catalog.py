"""Every class that a recipe can name, in one place. Adding an algorithm adds one line here."""

from irbench.registry import Registry

LAYOUTS = Registry(
    "layout",
    {
        "digits": "irbench.layouts.digits:DigitsLayout",
        "omniglot": "irbench.layouts.omniglot:OmniglotLayout",
        "cars196": "irbench.layouts.cars196:CarsLayout",
        "cub200": "irbench.layouts.cub200:CubLayout",
        "inshop": "irbench.layouts.inshop:InshopLayout",
        "imagenet": "irbench.layouts.imagenet:ImagenetLayout",
        "places365": "irbench.layouts.places365:PlacesLayout",
        "folders": "irbench.layouts.folders:FoldersLayout",
        "csv": "irbench.layouts.csv:CsvLayout",
    },
)

ENCODERS = Registry(
    "encoder",
    {
        "pixels": "irbench.encoders.pixels:PixelEncoder",
        "off-the-shelf": "irbench.encoders.off_the_shelf:OffTheShelfEncoder",
        "cgd": "irbench.encoders.cgd:CgdEncoder",
        "irt-r": "irbench.encoders.irt_r:IrtREncoder",
        "ft-clip": "irbench.encoders.ft_clip:FtClipEncoder",
    },
)

SEARCHERS = Registry(
    "searcher",
    {
        "linear": "irbench.searchers.linear:LinearSearcher",
        "ivfpq": "irbench.searchers.ivfpq:IvfPqSearcher",
        "scann": "irbench.searchers.scann:ScannSearcher",
        "spann": "irbench.searchers.spann:SpannSearcher",
    },
)

IDENTIFIERS = Registry(
    "identifier",
    {
        "random": "irbench.irgen.random_codes:RandomIdentifier",
        "hkm": "irbench.irgen.hierarchical:HierarchicalIdentifier",
        "rqvae": "irbench.irgen.rqvae:RqVaeIdentifier",
        "semantic": "irbench.irgen.tokenizer:SemanticTokenizer",
    },
)

RETRIEVERS = Registry(
    "retriever",
    {
        "dense": "irbench.retrievers.dense:DenseRetriever",
        "irgen": "irbench.retrievers.irgen:IrgenRetriever",
    },
)
