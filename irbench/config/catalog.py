"""Every class that a recipe can name, in one place. Adding an algorithm adds one line here."""

from irbench.config.registry import Registry

LOADERS = Registry(
    "loader",
    {
        "digits": "irbench.data.loaders.digits:DigitsLoader",
        "omniglot": "irbench.data.loaders.omniglot:OmniglotLoader",
        "cars196": "irbench.data.loaders.cars196:CarsLoader",
        "cub200": "irbench.data.loaders.cub200:CubLoader",
        "inshop": "irbench.data.loaders.inshop:InshopLoader",
        "imagenet": "irbench.data.loaders.imagenet:ImagenetLoader",
        "places365": "irbench.data.loaders.places365:PlacesLoader",
        "folders": "irbench.data.loaders.folders:FoldersLoader",
        "csv": "irbench.data.loaders.csv:CsvLoader",
    },
)

ENCODERS = Registry(
    "encoder",
    {
        "pixels": "irbench.retrievers.encoders.pixels:PixelEncoder",
        "off-the-shelf": "irbench.retrievers.encoders.off_the_shelf:OffTheShelfEncoder",
        "cgd": "irbench.retrievers.encoders.cgd:CgdEncoder",
        "irt-r": "irbench.retrievers.encoders.irt_r:IrtREncoder",
        "ft-clip": "irbench.retrievers.encoders.ft_clip:FtClipEncoder",
    },
)

SEARCHERS = Registry(
    "searcher",
    {
        "linear": "irbench.retrievers.searchers.linear:LinearSearcher",
        "ivfpq": "irbench.retrievers.searchers.ivfpq:IvfPqSearcher",
        "scann": "irbench.retrievers.searchers.scann:ScannSearcher",
        "spann": "irbench.retrievers.searchers.spann:SpannSearcher",
    },
)

IDENTIFIERS = Registry(
    "identifier",
    {
        "random": "irbench.retrievers.irgen.identifiers.random:RandomIdentifier",
        "hkm": "irbench.retrievers.irgen.identifiers.hkm:HierarchicalIdentifier",
        "rqvae": "irbench.retrievers.irgen.identifiers.rqvae:RqVaeIdentifier",
        "semantic": "irbench.retrievers.irgen.identifiers.semantic:SemanticTokenizer",
    },
)

RETRIEVERS = Registry(
    "retriever",
    {
        "dense": "irbench.retrievers.dense:DenseRetriever",
        "irgen": "irbench.retrievers.irgen.retriever:IrgenRetriever",
    },
)
